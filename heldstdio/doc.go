// Package heldstdio has stdio that outlives the engine: a libcontainerd.Stdio of which the keeper holds the outputs.
//
// Without it, the output of a process has no reader while no engine runs: the process blocks when its pipe is full, and
// what is in the pipe when the process ends may be lost. With it, the keeper moves the output into a raw file
// meanwhile. The next engine takes the output back, and finds all bytes in the raw file, in order.
//
// [Stdio] gives the keeper what it holds, and takes it back in Restore. An engine that has its own raw files implements
// [Process]. [Outputs] is for one that has none: it keeps each output in a file, with a spool that several readers can
// read.
//
//	outputs := heldstdio.NewOutputs(dir, bound)
//	stdio := &heldstdio.Stdio{Inner: libcontainerd.FIFO(run), Keeper: client, Namespace: "ns", Find: outputs.Find}
//	// In the Backend:
//	AttachStreams:  outputs.Attach(s)
//	DrainStreams:   outputs.Drain(ctx, containerID, processID)
package heldstdio
