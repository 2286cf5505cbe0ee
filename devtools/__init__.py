"""What a fresh clone needs: an environment, real servers, sample images. Standard library only."""
