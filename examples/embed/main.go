// Command embed is a small container engine on libcontainerd. It may be killed at any time: the next one goes on.
//
//	embed [--containerd SOCKET] DIR
//
// It reads commands from its standard input, a line each, and answers each with a line that begins with "ok" or
// "error":
//
//	run ID SPEC   runs a container with the OCI spec in the file SPEC, and answers with the pid
//	wait ID       answers with the exit code of the container's run
//	stop ID       stops the container, and answers with the exit code
//	logs ID       answers with what the container wrote to its stdout, as JSON
//	rm ID         removes the container
//
// The program is its own keeper and runtimed: it runs itself. docs/embedding.md explains each step.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/engine-lite/engine-lite/keeper"
	"github.com/engine-lite/engine-lite/libcontainerd"
	"github.com/engine-lite/engine-lite/runtimed"
)

func main() {
	switch {
	case runtimed.Meant():
		os.Exit(runtimed.Main("embed", os.Args[1:]))
	case len(os.Args) > 1 && os.Args[1] == "keeper":
		os.Exit(keeper.Main(os.Args[2:]))
	case len(os.Args) > 1 && os.Args[1] == "runtimed":
		os.Exit(runtimed.Main("embed", os.Args[2:]))
	}
	containerd := flag.String("containerd", "", "socket of a containerd to use; a runtimed of our own otherwise")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Arg(0), *containerd); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1)
	}
}

func (e *engine) serve(ctx context.Context) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		answer, err := e.do(ctx, words)
		if err != nil {
			fmt.Printf("error %s %q\n", strings.Join(words, " "), err)
			continue
		}
		fmt.Printf("ok %s %s\n", strings.Join(words, " "), answer)
	}
}

func (e *engine) do(ctx context.Context, words []string) (string, error) {
	if len(words) == 3 && words[0] == "run" {
		pid, err := e.run(ctx, words[1], words[2])
		return fmt.Sprint(pid), err
	}
	if len(words) != 2 {
		return "", errors.New("what?")
	}
	id := words[1]
	switch words[0] {
	case "wait":
		return e.ends(id, func(ctr *libcontainerd.Container) (libcontainerd.Exit, error) {
			return ctr.Wait(ctx, libcontainerd.InitProcess)
		})
	case "stop":
		return e.ends(id, func(ctr *libcontainerd.Container) (libcontainerd.Exit, error) {
			return ctr.Stop(ctx, libcontainerd.StopOptions{})
		})
	case "logs":
		path, err := e.outputs.File(id, libcontainerd.InitProcess, keeper.Stdout)
		if err != nil {
			return "", err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		answer, err := json.Marshal(string(text))
		return string(answer), err
	case "rm":
		return "", e.remove(ctx, id)
	}
	return "", errors.New("what?")
}
