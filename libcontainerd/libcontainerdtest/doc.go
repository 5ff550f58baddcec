// Package libcontainerdtest has what tests of package libcontainerd and of its
// users need: a runtime daemon and stdio in memory, a backend that records, and
// the contract suite that every combination of client and daemon has to pass.
//
//	Run(t, new)         the suite against whatever new returns: real daemons
//	RunVirtual(t, new)  the same with the virtual time of testing/synctest, and
//	                    with the cases that need a Fake's faults
//
// The processes of the in-memory Daemon are scripts of a few verbs that mean
// the same to a shell; see Daemon.
package libcontainerdtest
