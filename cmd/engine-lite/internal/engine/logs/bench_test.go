package logs

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const benchmarkSize = 256 << 20 // bytes per iteration

// textFile has lines such as programs write, of 20 to 160 bytes.
func textFile(b *testing.B) string {
	b.Helper()
	var text bytes.Buffer
	for i := 0; text.Len() < benchmarkSize; i++ {
		text.WriteString("2026-01-02T15:04:05.000Z INFO request handled path=/index.html status=200 duration=17ms bytes=5120 agent=\"x\" id=0123456789abcdef"[i%100:])
		text.WriteByte('\n')
	}
	path := filepath.Join(b.TempDir(), "text")
	must(b, os.WriteFile(path, text.Bytes()[:benchmarkSize], 0o600))
	return path
}

// benchmarkMove runs a process that writes a file's content to a FIFO. follow, if not nil,
// copies a follower.
func benchmarkMove(b *testing.B, logged bool, input string, follow func(*Follower)) {
	b.SetBytes(benchmarkSize)
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		p := newPlace(b)
		if !logged {
			p.log = ""
		}
		o, s := p.open(0), newStream(b)
		followed := make(chan struct{})
		if follow != nil {
			f := o.Follow(FollowOptions{Stdout: true})
			go func() { follow(f); f.Close(); close(followed) }()
		} else {
			close(followed)
		}
		before := cpuTime(b)
		b.StartTimer()
		o.Start(s, nil)
		wait := s.run(b, "dd", "if="+input, "bs=1048576", "count=256", "iflag=fullblock")
		wait()
		<-o.Drained()
		<-followed
		b.StopTimer()
		spent += cpuTime(b) - before
		must(b, o.Close())
		must(b, o.Remove())
		if logged {
			must(b, os.Remove(p.log))
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(spent.Milliseconds())/(float64(b.N)*benchmarkSize/(1<<30)), "cpu-ms/GiB")
}

// cpuTime is the CPU time of this process and its children. It says more than MB/s on a
// busy machine. The figures include the writer's time.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		must(b, unix.Getrusage(who, &u))
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

func BenchmarkTextToLog(b *testing.B)  { benchmarkMove(b, true, textFile(b), nil) }
func BenchmarkZerosToLog(b *testing.B) { benchmarkMove(b, true, "/dev/zero", nil) }
func BenchmarkDropped(b *testing.B)    { benchmarkMove(b, false, "/dev/zero", nil) }

// BenchmarkToSocket copies from the raw file.
func BenchmarkToSocket(b *testing.B) {
	benchmarkSocket(b, func(conn *net.UnixConn) io.Writer { return conn })
}

// BenchmarkDirect splices from the FIFO, without the raw file.
func BenchmarkDirect(b *testing.B) {
	benchmarkSocket(b, func(conn *net.UnixConn) io.Writer { return socket{conn} })
}

func benchmarkSocket(b *testing.B, writer func(*net.UnixConn) io.Writer) {
	benchmarkMove(b, false, "/dev/zero", func(f *Follower) {
		here, there := socketPair(b)
		read := make(chan int64)
		go func() {
			n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{there}, make([]byte, 1<<20))
			read <- n
		}()
		if err := f.Copy(b.Context(), writer(here), nil); err != nil {
			b.Error(err)
		}
		here.Close()
		if n := <-read; n != benchmarkSize {
			b.Errorf("%d bytes came", n)
		}
		there.Close()
	})
}

func socketPair(t testing.TB) (here, there *net.UnixConn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	defer l.Close()
	here, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	there, err = l.AcceptUnix()
	must(t, err)
	return here, there
}

func BenchmarkEncode(b *testing.B) {
	text, err := os.ReadFile(textFile(b))
	must(b, err)
	text = text[:encodeChunk]
	var out []byte
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		out, _ = encoded(out[:0], text, Stdout, time.Now(), false)
	}
}

func BenchmarkDecode(b *testing.B) {
	record, _ := encoded(nil,
		[]byte("2026 INFO request handled path=/index.html status=200 duration=\"17ms\" bytes=5120\n"), Stdout,
		time.Now(), true)
	var d decoder
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := d.decodeOurs(record); !ok {
			b.Fatal("not ours")
		}
	}
}

// BenchmarkLine writes one short line to an idle stream, and waits until the line is in
// the log.
func BenchmarkLine(b *testing.B) {
	p := newPlace(b)
	o, s := p.open(0), newStream(b)
	o.Start(s, nil)
	b.ReportAllocs()
	for n := int64(1); b.Loop(); n++ {
		s.write(b, "x\n")
		for {
			o.mu.Lock()
			done, wait := o.streams[0].encoded == 2*n, o.waitLocked()
			o.mu.Unlock()
			if done {
				break
			}
			<-wait
		}
	}
	s.end()
	<-o.Drained()
}
