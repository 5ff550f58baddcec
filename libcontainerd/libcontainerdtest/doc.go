// Package libcontainerdtest is for tests of package libcontainerd and of engines that use it. It has a runtime
// daemon and stdio in memory ([Daemon], [Stdio]), a backend that records events ([Recorder]), a hook for every call
// of a daemon ([Tap]), and the contract suite, which every combination of client and daemon has to pass:
//
//	Run(t, new)         runs the suite on the real daemon that new returns
//	RunVirtual(t, new)  runs it in the virtual time of testing/synctest, with the
//	                    cases that inject faults into the Daemon in memory
//
// A process of the Daemon in memory is a script in a small part of the shell's language, so that the same scripts
// run on real daemons; see [Daemon].
package libcontainerdtest
