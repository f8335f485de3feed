package channel

import "embed"

// Source is the text of the files that import nothing but unsafe and sync/atomic,
// for the overlay that carries them into the Go runtime of an image.
//
//go:embed status.go ring.go ring_unsafe.go producer.go consumer.go
var Source embed.FS
