"""The networks in torch: what is trained, and what runs."""
