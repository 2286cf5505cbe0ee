"""What must be kept whatever the policies say: images in use."""
