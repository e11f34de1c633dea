"""The wire: messages, topics, chunk frames and the MQTT link."""
