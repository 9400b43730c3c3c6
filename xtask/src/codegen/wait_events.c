/*
 * Asks a server for the names of its wait events, as pg_stat_activity shows them: loaded with LOAD into a scratch
 * server in single-user mode, it writes one line per event to $PGSTROBE_OUT and ends.
 *
 * Needs no header of the server: two exported functions (src/backend/utils/activity/wait_event.c; pgstat.c in 13) and
 * the block of values by which a server accepts a module (fmgr.h: Pg_magic_struct of 13-14, 15-17 and 18).
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char *pgstat_get_wait_event_type(uint32_t info);
extern const char *pgstat_get_wait_event(uint32_t info);

static const struct {
	int len, version, max_args, max_keys, name_len, float8_by_value;
#if PG_MAJOR >= 15
	char product[32];
#endif
#if PG_MAJOR >= 18
	const char *name, *module_version;
#endif
} magic = {
	sizeof magic, PG_MAJOR * 100, 100, 32, 64, 1,
#if PG_MAJOR >= 15
	"PostgreSQL",
#endif
};

const void *Pg_magic_func(void) { return &magic; }

void _PG_init(void)
{
	FILE *out = fopen(getenv("PGSTROBE_OUT"), "w");

	if (out == NULL)
		return;
	for (uint32_t class = 1; class < 16; class++) {
		const char *type = pgstat_get_wait_event_type(class << 24);

		if (type == NULL || strcmp(type, "???") == 0)
			continue;
		fprintf(out, "%u\t-\t%s\n", class, type);
		for (uint32_t event = 0; event < 256; event++) {
			/* Names of custom events live in shared memory; a number that nobody registered is an error (17 and later). */
			if (PG_MAJOR >= 17 && (class == 0x0B || (class == 0x07 && event > 0)))
				break;
			const char *name = pgstat_get_wait_event(class << 24 | event);

			if (name != NULL)
				fprintf(out, "%u\t%u\t%s\n", class, event, name);
		}
	}
	fclose(out);
}
