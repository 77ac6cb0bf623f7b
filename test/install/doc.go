// Package install checks that make uninstall takes away what make install has put somewhere.
package install
