"""The contract shared by all packages: readings, alert rules, alarm episodes and Bluetooth codecs. No I/O."""
