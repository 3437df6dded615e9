"""What is known of vLLM: its command line, its entry point, its log. Pure functions but for a look at files."""
