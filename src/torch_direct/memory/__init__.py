"""Host memory that the GPU can read: getting it, registering it, giving it back."""
