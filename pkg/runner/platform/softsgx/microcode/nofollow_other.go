//go:build !unix

package microcode

const openNoFollow = 0
