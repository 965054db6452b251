"""The searches of an exported model: exact, by an inverted file or by ScaNN; how they are stored, built and updated."""
