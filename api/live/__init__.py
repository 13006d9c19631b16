"""The live feed: what happens, sent to browsers and programs as it happens, by Socket.IO."""
