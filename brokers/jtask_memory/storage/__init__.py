"""What the clients of one `memory://` URL share: plain data under one lock, and subscribers."""

from jtask_memory.storage.storage import Storage, canonical, fresh_storage, storage_of

__all__ = ["Storage", "canonical", "fresh_storage", "storage_of"]
