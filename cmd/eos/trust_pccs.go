package main

import (
	"path/filepath"
	"time"

	"github.com/enclaveos/eos/pkg/attest/collateral"
)

// intelService is Intel's own service among the addresses of --pccs.
const intelService = "intel"

// services asks what --pccs names, in that order; nil if it names nothing. What
// comes from there is kept beside the software platform's keys.
func (f *trustFlags) services(u *ui, maxAge time.Duration) (*collateral.Client, error) {
	if len(f.pccs) == 0 {
		return nil, nil
	}
	if f.collateral != "" {
		return nil, usagef("--collateral is for use without a network, --pccs asks in the network: give one of them")
	}
	dir, err := stateDir(f.stateDir)
	if err != nil {
		return nil, err
	}
	c := &collateral.Client{
		MaxAge: maxAge,
		Cache:  &collateral.Cache{Dir: filepath.Join(dir, "collateral")},
		Used: func(r collateral.Request, from string) {
			u.hint("what the vendor says of platforms %s is from %s", r, from)
		},
		Warn: func(err error) { u.warn("%v", err) },
	}
	for _, s := range f.pccs {
		e := collateral.Endpoint{URL: s}
		if s == intelService {
			e = collateral.Intel
		} else if err := e.Check(); err != nil {
			return nil, usagef("--pccs: %w", err)
		}
		c.Endpoints = append(c.Endpoints, e)
	}
	return c, nil
}
