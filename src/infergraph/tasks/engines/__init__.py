"""What runs task workers, behind one seam."""
