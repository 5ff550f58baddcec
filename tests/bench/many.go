package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// concurrency is how many containers are worked on at a time.
const concurrency = 8

// each calls work for 0 to n-1, some at a time, and returns how many per second it did.
func each(n int, work func(i int) error) (float64, error) {
	var workers sync.WaitGroup
	next, errs := make(chan int), make([]error, n)
	begin := time.Now()
	for range concurrency {
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

// manyDaemon creates and starts many containers, then removes them.
func manyDaemon(ctx context.Context, d *daemon, z sizes) (figures, error) {
	ids, many, err := d.startMany(ctx, z.many)
	removed, e := d.removeMany(ctx, ids)
	return figures{"many": many, "remove": removed}, errors.Join(err, e)
}

func (d *daemon) startMany(ctx context.Context, n int) ([]string, float64, error) {
	ids := make([]string, n)
	perSecond, err := each(n, func(i int) (err error) {
		ids[i], err = d.running(ctx)
		return err
	})
	return ids, perSecond, err
}

func (d *daemon) removeMany(ctx context.Context, ids []string) (float64, error) {
	return each(len(ids), func(i int) error {
		if ids[i] == "" {
			return nil // was not created
		}
		return d.remove(ctx, ids[i])
	})
}

// manyBare does the same with the runtime. The bundles are made before.
func manyBare(ctx context.Context, b *bare, z sizes) (figures, error) {
	many, removed, err := b.startMany(ctx, z.many, [][]string{{"create", "--bundle", "DIR", "ID"}, {"start", "ID"}})
	if err != nil {
		return nil, err
	}
	detached, _, err := b.startMany(ctx, z.many, [][]string{{"run", "--detach", "--bundle", "DIR", "ID"}})
	return figures{"many": many, "remove": removed, "many-detached": detached}, err
}

func (b *bare) startMany(ctx context.Context, n int, commands [][]string) (started, removed float64, err error) {
	containers := make([]*bareContainer, n)
	for i := range containers {
		if containers[i], err = b.container(sleepArgs); err != nil {
			return 0, 0, err
		}
	}
	started, err = each(n, func(i int) error { return b.calls(ctx, containers[i], commands) })
	removed, e := each(n, func(i int) error { return b.call(ctx, nil, nil, "delete", "--force", containers[i].id) })
	err = errors.Join(err, e)
	for _, c := range containers {
		err = errors.Join(err, c.remove())
	}
	return started, removed, err
}
