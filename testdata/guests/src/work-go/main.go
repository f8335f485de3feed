// Work-go is work for the bench: some of everything that programs do.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

func main() {}

//go:wasmexport work(n:s32)s32
func work(n int32) int32 {
	sum := int32(0)
	for range n {
		v := make([]int, 2000)
		x := uint32(1)
		for i := range v {
			x = x*1664525 + 1013904223
			v[i] = int(x >> 8)
		}
		sort.Ints(v)
		m := map[string]int{}
		for i := range 500 {
			m[fmt.Sprint(v[i]%100)] += i
		}
		b, _ := json.Marshal(m)
		_ = json.Unmarshal(b, &m)
		h := sha256.Sum256([]byte(strings.Repeat(string(b), 20)))
		sum += int32(h[0]) + int32(len(m))
	}
	return sum
}
