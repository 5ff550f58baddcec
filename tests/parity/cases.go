package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A testCase is some steps on a daemon without containers.
type testCase struct {
	name  string
	steps []step
}

// A step is a command line, or a request of the API.
type step struct {
	line   string
	shell  bool
	method string
	path   string
	body   string
}

// readCases reads the cases whose names match from the files of a directory, in the order of
// their names. In a file, a line is
//
//	== NAME                  the beginning of a case
//	$ COMMAND                a command line of a shell, which has docker
//	> METHOD PATH [BODY]     a request
//	# TEXT                   a comment
//
// The name of a case is "file/name".
func readCases(dir, pattern string) ([]testCase, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var all []testCase
	seen := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		cases, err := parseCases(strings.TrimSuffix(filepath.Base(file), ".txt"), string(data))
		if err != nil {
			return nil, err
		}
		for _, c := range cases {
			if seen[c.name] {
				return nil, fmt.Errorf("two cases have the name %s", c.name)
			}
			seen[c.name] = true
			if matches(pattern, c.name) {
				all = append(all, c)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no case in %s matches %q", dir, pattern)
	}
	return all, nil
}

func parseCases(file, text string) ([]testCase, error) {
	var all []testCase
	for n, line := range strings.Split(text, "\n") {
		mark, rest := cut(line)
		if mark == "" || mark == "#" {
			continue
		}
		if mark == "==" {
			all = append(all, testCase{name: file + "/" + rest})
			continue
		}
		s := step{line: line}
		switch mark {
		case "$":
			s.shell, s.body = true, rest
		case ">":
			s.method, rest = cut(rest)
			s.path, s.body = cut(rest)
		default:
			return nil, fmt.Errorf("%s.txt, line %d: want ==, $, > or #", file, n+1)
		}
		if len(all) == 0 || s.shell && s.body == "" || !s.shell && !strings.HasPrefix(s.path, "/") {
			return nil, fmt.Errorf("%s.txt, line %d: no step: %q", file, n+1, line)
		}
		c := &all[len(all)-1]
		c.steps = append(c.steps, s)
	}
	return all, nil
}
