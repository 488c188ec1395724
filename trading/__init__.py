"""What more than one stage needs: pure rules, and thin edges to the world. Imports no stage."""
