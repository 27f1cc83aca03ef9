"""Bluetooth without hardware: controllers, GATT servers, the parts of the bleak backend and the HCI port."""
