"""In-app purchases and subscriptions: receipts of stores, checked, kept once, granted through the ledger."""
