// Package ociruntime runs an OCI runtime's command line (runc, crun, runsc): it chooses one, calls it so that no call
// can harm the daemon, asks again what a runtime refuses for a moment, and does the start of runc and crun without a
// process.
package ociruntime
