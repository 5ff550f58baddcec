package journal

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

var record = make([]byte, 2048)

// exitCommit is the commit for the exit of a container: it reads and writes the record, and appends an event.
func exitCommit(key string) func(*Tx) error {
	return func(tx *Tx) error {
		tx.Get("container", key)
		tx.Put("container", key, record)
		tx.Append(Event{
			Type: "container", Action: "die", ID: key, Generation: 1,
			Attributes: map[string]string{"exitCode": "0", "image": "busybox", "name": "quiet_hopper",
				"execDuration": "3"},
		})
		return nil
	}
}

// BenchmarkBbolt is the lower bound of a single commit: a bbolt transaction with a value of each size, and nothing
// else.
func BenchmarkBbolt(b *testing.B) {
	db, err := bolt.Open(newPath(b), 0o600, &bolt.Options{InitialMmapSize: addressSpace})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for n := 0; b.Loop(); n++ {
		err := db.Update(func(tx *bolt.Tx) error {
			events, eventsErr := tx.CreateBucketIfNotExists([]byte("events"))
			records, recordsErr := tx.CreateBucketIfNotExists([]byte("records"))
			if err := errors.Join(eventsErr, recordsErr); err != nil {
				return err
			}
			return errors.Join(
				events.Put(eventKey(uint64(n)), record[:250]),
				records.Put(fmt.Appendf(nil, "%064d", n%1000), record))
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkCommit(b *testing.B, writers int, opts Options) {
	j := open(b, newPath(b), opts)
	var n atomic.Int64
	b.SetParallelism(writers)
	before := j.current().tx
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := j.Commit(b.Context(), exitCommit(fmt.Sprintf("%064d", n.Add(1)%1000))); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/float64(j.current().tx-before), "commits/tx")
}

func BenchmarkCommitLone(b *testing.B) {
	j := open(b, newPath(b), Options{})
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if err := j.Commit(b.Context(), exitCommit(fmt.Sprintf("%064d", n%1000))); err != nil {
			b.Fatal(err)
		}
	}
}

// The numbers of writers are per processor.
func BenchmarkCommit4PerCPU(b *testing.B)  { benchmarkCommit(b, 4, Options{}) }
func BenchmarkCommit32PerCPU(b *testing.B) { benchmarkCommit(b, 32, Options{}) }
func BenchmarkCommitNoSync(b *testing.B)   { benchmarkCommit(b, 1, Options{NoSync: true}) }

// BenchmarkCommitDropping runs with the bound on the size reached.
func BenchmarkCommitDropping(b *testing.B) { benchmarkCommit(b, 4, Options{MaxBytes: 256 << 10}) }

// manyEvents is how many events a long history has. The journal's default bound would keep a fifth of them.
const manyEvents = 1_000_000

// history is a journal with manyEvents events, a second apart.
func history(b *testing.B) (j *Journal, begin time.Time) {
	j = open(b, newPath(b), unbounded)
	begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	attributes := map[string]string{"exitCode": "0", "image": "busybox", "name": "quiet_hopper", "execDuration": "3"}
	for n := 0; n < manyEvents; n += 10_000 {
		commit(b, j, func(tx *Tx) {
			for i := range 10_000 {
				at := begin.Add(time.Duration(n+i) * time.Second)
				id := fmt.Sprintf("%064d", i%1000)
				tx.Append(Event{Time: at, Type: "container", Action: "die", ID: id, Attributes: attributes})
			}
		})
	}
	return j, begin
}

// BenchmarkMillionEvents measures a history of a million events: appending, reading from the start, finding a time in
// the middle, and opening.
func BenchmarkMillionEvents(b *testing.B) {
	j, begin := history(b)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := j.Commit(b.Context(), exitCommit("key")); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("from the start", func(b *testing.B) {
		for b.Loop() {
			for c := j.Cursor(0); c.Position() < manyEvents; {
				if _, err := c.Next(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/manyEvents, "ns/event")
	})
	b.Run("since the middle", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c, err := j.CursorSince(begin.Add(manyEvents / 2 * time.Second))
			if err != nil || c.Position() != manyEvents/2 {
				b.Fatal(c, err)
			}
			if _, err := c.Next(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	path := j.path
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			again, err := Open(path, unbounded)
			if err != nil {
				b.Fatal(err)
			}
			if err := again.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCursor(b *testing.B) {
	j := open(b, newPath(b), unbounded)
	for range 100 {
		commit(b, j, func(tx *Tx) {
			for range 100 {
				_ = exitCommit("c")(tx)
			}
		})
	}
	c := j.Cursor(0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
		if c.Position() == 10_000 {
			c = j.Cursor(0)
		}
	}
}
