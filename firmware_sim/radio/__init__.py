"""Bluetooth without hardware: controllers, GATT servers, the bleak backend and the HCI port."""
