"""Raw events and items to a dataset directory with Apache Beam. Imports neither `trainer` nor `serving`."""
