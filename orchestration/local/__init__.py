"""Local services: the embedded servers, their supervisor and its client."""
