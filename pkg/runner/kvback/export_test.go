package kvback

import "github.com/cockroachdb/pebble/v2"

// BenchOptions are the options with which Open opens Pebble.
func BenchOptions() *pebble.Options { return options(pebble.NewCache(cacheSize)) }
