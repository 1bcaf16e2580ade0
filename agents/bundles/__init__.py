"""Sites without a network: what they need comes in one signed file, and what they let go leaves in another."""
