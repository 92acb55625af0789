"""Every figure the project states about itself comes out of here."""
