"""Teaching: masking, batching, loss, the loop; data-parallel and ZeRO behind one small interface."""
