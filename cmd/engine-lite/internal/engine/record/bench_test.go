package record

import (
	"os"
	"testing"
)

// BenchmarkRecord is what a commit does with a container's record: it decodes the record and encodes it again.
func BenchmarkRecord(b *testing.B) {
	raw, err := os.ReadFile("../testdata/v1/everything.json")
	if err != nil {
		b.Fatal(err)
	}
	read := func(raw []byte) *Record {
		r, err := Containers.Decode("abababababababababababababababababababababababababababababababab", raw)
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	write := func(r *Record) []byte {
		raw, err := Containers.Encode(r)
		if err != nil {
			b.Fatal(err)
		}
		return raw
	}
	raw = write(read(raw))
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		raw = write(read(raw))
	}
}
