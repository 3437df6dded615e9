"""What is known of vLLM: its command line, its entry point, its log. Pure functions, and one look at an installation."""
