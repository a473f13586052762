"""The inspection station: a server that judges photographs by trained models, keeps what it answered, and shows it."""
