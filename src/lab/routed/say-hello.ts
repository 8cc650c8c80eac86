/** A hello as any TLS client could say it: by openssl, with whatever certificate. */
import { HELLO_PORT, type RoutedLab } from './lab.js';

/**
 * Says hello to t1 as a server.
 * @param files name of a certificate and key in the laboratory's directory; undefined for none
 * @returns what the router answered, '' where it ended the session
 */
export async function sayHello(lab: RoutedLab, files: string | undefined, id: string): Promise<string> {
  const at = (name: string): string => `${lab.directory}/${name}`;
  const own = files === undefined ? [] : ['-cert', at(`${files}.pem`), '-key', at(`${files}.key`)];
  const to = ['-connect', `${lab.address('t1')}:${HELLO_PORT}`, '-CAfile', at('ca.pem')];
  const said = JSON.stringify({ type: 'hello', v: 1, id, level: 'server', address: lab.address(id) });
  // The router's answer comes while standard input is open.
  const client = ['timeout', '3', 'openssl', 's_client', '-quiet', ...to, ...own].join(' ');
  const { stdout } = await lab.exec('s1', [
    'sh',
    '-c',
    `(echo '${said}'; sleep 0.5) | ${client} 2>/dev/null`,
  ]);
  return stdout;
}
