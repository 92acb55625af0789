"""Money, in integers: prices, the ledger, accounts and keys."""
