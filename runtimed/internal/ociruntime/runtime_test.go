package ociruntime

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzRuntimeLog(f *testing.F) {
	f.Add(`{"level":"error","msg":"no"}` + "\n")
	f.Add("panic: x\n{\"level\":\"fatal\",\"msg\":\"yes\"}\n{}")
	f.Fuzz(func(_ *testing.T, text string) { parseLog(strings.NewReader(text)) })
}

func FuzzCommandLine(f *testing.F) {
	f.Add([]byte("runc\x00--root\x00/r/.oci/ns\x00create\x00c\x00"), true)
	f.Add([]byte("runc\x00--root\x00/r/.oci2/ns\x00create\x00c\x00"), false)
	f.Add([]byte("runc\x00init\x00--root\x00"), false)
	f.Add([]byte(""), false)
	f.Fuzz(func(t *testing.T, line []byte, want bool) {
		if got := hasRoot(line, "/r/.oci"); got && !bytes.Contains(line, []byte("--root\x00/r/.oci/")) {
			t.Fatalf("%q", line)
		} else if want && !got && bytes.HasPrefix(line, []byte("runc\x00--root\x00/r/.oci/")) {
			t.Fatalf("%q was not found", line)
		}
	})
}
