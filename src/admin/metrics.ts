/** Prometheus's text format. */

/** One metric family of a program. The host of programs adds the label `program`. */
export interface Metric {
  name: string;
  help: string;
  type: 'counter' | 'gauge';
  samples: { labels: Readonly<Record<string, string>>; value: number }[];
}

const labelled = (labels: Readonly<Record<string, string>>): string => {
  const text = Object.entries(labels)
    .map(([name, value]) => `${name}="${value}"`)
    .join(',');
  return text === '' ? '' : `{${text}}`;
};

/** The text of these families; a family without samples is left out. */
export function exposition(metrics: readonly Metric[]): string {
  const lines = metrics
    .filter((m) => m.samples.length > 0)
    .flatMap(({ name, help, type, samples }) => [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} ${type}`,
      ...samples.map(({ labels, value }) => `${name}${labelled(labels)} ${value}`),
    ]);
  return `${lines.join('\n')}\n`;
}
