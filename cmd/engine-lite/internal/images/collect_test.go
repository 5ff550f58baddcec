package images

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

func TestCollectorWaitsForMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := logrus.New()
		log.SetOutput(io.Discard)
		var at []time.Duration
		start := time.Now()
		c := &collector{delay: time.Second, log: logrus.NewEntry(log), collect: func(context.Context) error {
			at = append(at, time.Since(start))
			return errors.New("try later")
		}}
		c.start()
		for range 100 {
			c.request()
			time.Sleep(5 * time.Millisecond) // the bubble's clock
		}
		time.Sleep(time.Minute)
		c.request()
		synctest.Wait()
		c.stop()
		// The second one was asked for and had not begun: stop does it at once.
		if len(at) != 2 || at[0] != time.Second || at[1] != time.Minute+500*time.Millisecond {
			t.Errorf("collected at %v", at)
		}
	})
}

// A collection under way at the end has a bounded time for its own.
func TestCollectorStopEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{collect: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		c.start()
		c.request()
		time.Sleep(2 * defaultCollectDelay)
		stopping := time.Now()
		c.stop()
		if took := time.Since(stopping); took != lastTimeout {
			t.Errorf("it took %v", took)
		}
	})
}
