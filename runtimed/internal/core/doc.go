// Package core is the runtime daemon without its API: namespaces, containers, tasks and processes, their exits and
// events, and what is known of them on disk.
//
// [Daemon].mu guards the index of namespaces and containers. A container's task, the execs of a task and the state of
// a process have a lock each, which is held for no call of another program, no read and no write. They are taken in
// this order: Daemon, container, task, process; of two processes the sandbox's first.
package core
