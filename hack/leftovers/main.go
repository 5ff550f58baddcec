// Command leftovers tells what a run of the tests left on the machine: processes,
// mounts, network namespaces and interfaces, cgroups, and files outside the work
// tree, FIFOs and sockets among them.
//
//	leftovers snapshot FILE    writes what there is now
//	leftovers compare FILE     lists what there is beyond it; exit code 1 if anything
//
// A process is a leftover if it is new and belongs to the tests: it runs in another
// namespace, or is one of the programs that the tests start, or has the same value of
// [markName] in its environment as this process.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// settleTime is how long a process that is about to end may take.
const settleTime = 5 * time.Second

func main() {
	if len(os.Args) != 3 {
		fail(2, "usage: leftovers snapshot|compare FILE")
	}
	var err error
	var left []string
	switch os.Args[1] {
	case "snapshot":
		err = write(os.Args[2])
	case "compare":
		left, err = compare(os.Args[2], settleTime)
	default:
		err = fmt.Errorf("no such command: %s", os.Args[1])
	}
	if err != nil {
		fail(2, err)
	}
	for _, line := range left {
		fmt.Println("left behind:", line)
	}
	if len(left) > 0 {
		os.Exit(1)
	}
}

func fail(code int, what any) {
	fmt.Fprintln(os.Stderr, "leftovers:", what)
	os.Exit(code)
}

func write(path string) error {
	s, err := look()
	if err != nil {
		return err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// compare lists what is there beyond the snapshot, once it has stopped shrinking to
// nothing or the time is up.
func compare(path string, settle time.Duration) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var before snapshot
	if err := json.Unmarshal(data, &before); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for deadline := time.Now().Add(settle); ; time.Sleep(200 * time.Millisecond) {
		now, err := look()
		if err != nil {
			return nil, err
		}
		left := now.beyond(before)
		if len(left) == 0 || time.Now().After(deadline) {
			return left, nil
		}
	}
}

// snapshot is what is on the machine: for each kind of thing, by what identifies
// one, how to show it.
type snapshot map[string]map[string]string

// look takes a snapshot.
func look() (snapshot, error) {
	s := snapshot{}
	for kind, list := range map[string]func() (map[string]string, error){
		"process": processes, "mount": mounts, "network namespace": networkNamespaces,
		"network interface": networkInterfaces, "cgroup": cgroups, "file": files,
	} {
		found, err := list()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		s[kind] = found
	}
	return s, nil
}

// beyond lists what isn't in the earlier snapshot, sorted.
func (s snapshot) beyond(before snapshot) []string {
	var left []string
	for kind, things := range s {
		for key, text := range things {
			if _, ok := before[kind][key]; !ok {
				left = append(left, kind+" "+text)
			}
		}
	}
	slices.Sort(left)
	return left
}
