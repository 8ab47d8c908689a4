"""What a head that reads codes is worth beside networks of its size that read pixels of as many bytes."""
