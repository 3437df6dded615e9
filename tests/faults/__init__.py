"""What may go wrong with a server, and the test that shows what then happens.

The rows are those of the matrix of faults that the supervision was designed by; `tests/` and `.py` are left out.

 1 a failure that vLLM's log shows
       vllm/failures/test_logs::test_every_recorded_log_is_diagnosed_as_recorded
       vllm/failures/test_catalogue::test_every_failure_has_a_case
 2 front end killed while it serves
       faults/test_killed_server
       engine/test_faults::test_a_killed_front_end_is_seen_and_its_engine_ended
 3 launcher killed, in each phase
       faults/test_killed_launcher
       engine/test_faults::test_a_server_is_ended_with_its_launcher_while_it_loads
       engine/test_faults::test_a_serving_server_is_drained_and_ended_with_its_launcher
 4 guardian killed, in each phase
       faults/test_killed_guardian
       engine/test_faults::test_a_killed_guardian_is_replaced_with_its_server
 5 launcher and guardian killed together
       faults/test_killed_launcher::test_the_next_start_ends_what_launcher_and_guardian_left
       faults/test_detached::test_what_is_left_of_a_detached_run_is_ended_on_demand
       server/test_orphans
 6 engine killed while it serves
       faults/test_killed_server
       engine/test_faults::test_a_killed_engine_is_a_failure_though_the_front_end_exits_with_0
 7 engine killed while it loads
       faults/test_killed_server::test_a_killed_process_ends_a_server_that_loads
       engine/test_warm_faults::test_an_engine_that_is_killed_while_it_loads_fails_the_start
 8 worker killed
       faults/test_killed_server
       engine/test_warm_faults::test_a_worker_that_is_killed_fails_the_server
 9 engine stopped, with load and without
       faults/test_hangs
       engine/test_faults::test_a_stopped_engine_is_called_hung_and_a_busy_one_is_not
10 front end stopped
       faults/test_hangs::test_a_stopped_front_end_is_called_hung_and_ended
       faults/test_hangs::test_a_stopped_process_does_not_hold_up_a_stop
       engine/test_warm_faults::test_a_stopped_front_end_is_called_hung_and_ended
11 exit 0, unasked and asked
       faults/test_killed_server
12 exit statuses and signals, in each phase
       faults/test_killed_server::test_every_way_to_die_is_recorded_as_a_failure
       vllm/failures/test_diagnose::test_where_the_log_is_silent_the_exit_status_tells
13 a stop in each phase
       server/test_stop::test_nothing_is_left_after_a_stop_during_start_up
       engine/test_serving::test_nothing_is_left_after_a_signal
14 a stop with requests in flight
       server/test_stop::test_requests_in_flight_finish
       engine/test_faults::test_long_answers_finish_before_a_stop
15 a drain beyond its deadline
       server/test_stop::test_a_server_that_does_not_stop_is_killed_at_the_deadline
       engine/test_warm_faults::test_a_drain_ends_at_its_deadline
16 a client that never reads its answer
       faults/test_stops::test_a_client_that_never_reads_its_answer_is_cut_off_at_the_deadline
       engine/test_faults::test_a_client_that_never_reads_its_answer_is_cut_off_at_the_deadline
17 SIGTERM to the whole group
       fakes/test_fake_vllm::test_sigterm_to_the_group_breaks_the_drain
18 two starts on one port; a port taken late
       faults/test_ports
       engine/test_warm_faults::test_a_port_that_is_taken_while_the_server_loads_is_told
19 a foreign server on the port
       faults/test_ports::test_a_stranger_that_answers_on_a_fixed_port_is_not_taken_for_the_server
20 a port shared with a foreign server
       faults/test_ports::test_a_port_that_is_shared_with_a_stranger_is_not_ready
21 never ready
       server/test_readiness::test_the_deadline_names_the_phase_that_hangs
       engine/test_faults::test_a_server_that_dies_of_its_first_request_is_never_ready_and_leaves_nothing
22 a slow start, a stalled one
       faults/test_stalls
23 floods, long lines, binary, a full disk
       faults/test_logs
24 crash loops
       faults/test_restarts
25 healthy for long, then a crash
       faults/test_restarts::test_the_delay_doubles_until_the_server_has_served_for_long
26 processes that escape
       faults/test_escapes
27 numbers of processes used again
       server/test_processes::test_a_later_process_of_the_same_number_is_not_touched
       server/test_orphans::test_a_later_process_with_a_recorded_number_is_not_touched
28 stops at once, starts during stops
       faults/test_stops
       server/test_stopping
29 a process that cannot be killed
       faults/test_unkillable
30 memory of GPUs that does not come back
       faults/test_unkillable::test_memory_of_a_gpu_that_does_not_come_back_is_named
31 no driver for GPUs, or one that hangs
       machine/test_gpu_load::test_a_driver_that_hangs_is_left_alone_until_it_answers
32 configurations that vLLM refuses
       vllm/failures/test_logs::test_every_recorded_log_is_diagnosed_as_recorded
33 limits of the machine that are too low
       vllm/failures/test_logs::test_every_recorded_log_is_diagnosed_as_recorded
34 secrets, in each phase
       engine/test_secrets
35 files that others could have written
       runs/test_trust
36 routes without a key
       engine/test_routes
43 two runs on one machine
       faults/test_stops::test_two_runs_at_once_do_not_touch_each_other
44 a hangup; an interrupt, twice
       cli/test_launch::test_a_second_signal_kills_at_once
       cli/test_launch::test_a_signal_stops_a_serving_server_with_all_its_children
       faults/test_detached::test_a_hangup_has_it_reload_and_not_stop
45 clocks that jump, a launcher suspended
       faults/test_clocks
       faults/test_hangs::test_a_server_is_not_called_hung_for_a_time_in_which_its_launcher_did_not_look
46 many starts and stops
       faults/test_cycles
47 several front ends, a supervisor of many
       faults/test_escapes

Beyond the matrix: reloads (faults/test_reload), detached runs (faults/test_detached), and random kills, some hundred in
a row (benchmarks/chaos.py).
"""
