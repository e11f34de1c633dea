"""What a board costs: sensors, sampler, energy, latency of any callable, thermal state, power modes."""
