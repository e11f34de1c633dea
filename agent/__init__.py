"""The daemon on the device: journal, store, slots, inbox, outbox, state machine. No numerics."""
