package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// abreast is how many of a crowd are worked on at a time.
const abreast = 8

// each calls work for 0 to n-1, some at a time, and returns how many per second it did.
func each(n int, work func(i int) error) (float64, error) {
	var workers sync.WaitGroup
	next, errs := make(chan int), make([]error, n)
	begin := time.Now()
	for range abreast {
		workers.Go(func() {
			for i := range next {
				errs[i] = work(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	return float64(n) / time.Since(begin).Seconds(), errors.Join(errs...)
}

// crowdDaemon creates and starts many containers, then removes them.
func crowdDaemon(ctx context.Context, d *daemon, z sizes) (figures, error) {
	ids, many, err := d.crowd(ctx, z.crowd)
	removed, e := d.disperse(ctx, ids)
	return figures{"many": many, "remove": removed}, errors.Join(err, e)
}

func (d *daemon) crowd(ctx context.Context, n int) ([]string, float64, error) {
	ids := make([]string, n)
	perSecond, err := each(n, func(i int) (err error) {
		ids[i], err = d.running(ctx)
		return err
	})
	return ids, perSecond, err
}

func (d *daemon) disperse(ctx context.Context, ids []string) (float64, error) {
	return each(len(ids), func(i int) error {
		if ids[i] == "" {
			return nil // was not created
		}
		return d.remove(ctx, ids[i])
	})
}

// crowdBare does the same with the runtime; the bundles are there before.
func crowdBare(ctx context.Context, b *bare, z sizes) (figures, error) {
	many, removed, err := b.crowd(ctx, z.crowd, [][]string{{"create", "--bundle", "DIR", "ID"}, {"start", "ID"}})
	if err != nil {
		return nil, err
	}
	detached, _, err := b.crowd(ctx, z.crowd, [][]string{{"run", "--detach", "--bundle", "DIR", "ID"}})
	return figures{"many": many, "remove": removed, "many-detached": detached}, err
}

func (b *bare) crowd(ctx context.Context, n int, commands [][]string) (started, removed float64, err error) {
	crowd := make([]*bareContainer, n)
	for i := range crowd {
		if crowd[i], err = b.container(sleepArgs); err != nil {
			return 0, 0, err
		}
	}
	started, err = each(n, func(i int) error { return b.calls(ctx, crowd[i], commands) })
	removed, e := each(n, func(i int) error { return b.call(ctx, nil, nil, "delete", "--force", crowd[i].id) })
	err = errors.Join(err, e)
	for _, c := range crowd {
		err = errors.Join(err, c.remove())
	}
	return started, removed, err
}
