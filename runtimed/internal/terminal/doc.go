// Package terminal receives a terminal's master from an OCI runtime and moves its bytes to and from FIFOs.
package terminal
