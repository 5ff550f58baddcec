// Package heldstdio makes the stdio of containers outlive the engine. Its Stdio is a libcontainerd.Stdio. The keeper holds
// the outputs of each process.
//
// Without heldstdio, the output of a process has no reader while no engine runs. The process blocks when its pipe is full,
// and what is in the pipe when the process ends may be lost. With heldstdio, the keeper moves the output into a raw file
// meanwhile. The next engine takes the output back, and finds all bytes in the raw file, in order. If a raw file takes more
// than its bound on the disk (Stdio.Bound), the process waits for the next engine, and nothing is lost.
//
// [Stdio] gives the keeper what it holds, and takes it back in Restore. An engine that has its own raw files implements
// [Process]. [Outputs] is for one that has none: it keeps each output in a file, with a spool that several readers can
// read.
//
//	outputs := heldstdio.NewOutputs(dir, bound)
//	stdio := &heldstdio.Stdio{Inner: libcontainerd.FIFO(run), Keeper: client, Namespace: "ns", Find: outputs.Find, Engine: ctx}
//	// In the Backend:
//	AttachStreams:  outputs.Attach(s)
//	DrainStreams:   outputs.Drain(ctx, containerID, processID)
package heldstdio
