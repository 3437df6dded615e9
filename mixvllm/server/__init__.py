"""One server's life: started, watched until it is ready, watched while it serves, stopped whole."""
