package daemon

import (
	"reflect"
	"testing"

	"github.com/ipcd/ipcd/internal/config"
)

// TestEveryLimitIsHandedOver: a limit that the configuration has and the server is not told of would be zero there, and nobody could
// have any of what it bounds.
func TestEveryLimitIsHandedOver(t *testing.T) {
	limits := reflect.ValueOf(options(config.Default()).Limits)
	for i := range limits.NumField() {
		if limits.Field(i).IsZero() {
			t.Errorf("the server is not told %s", limits.Type().Field(i).Name)
		}
	}
}
