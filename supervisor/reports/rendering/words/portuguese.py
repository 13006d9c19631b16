"""The words of reports, in Brazilian Portuguese: the keys of english.py."""

from collections.abc import Mapping
from typing import Final

LOCALE: Final = "pt_BR"

TITLES: Final[Mapping[str, str]] = {
    "daily": "Relatório diário",
    "weekly": "Relatório semanal",
    "monthly": "Relatório mensal",
    "custom": "Relatório",
}

PHRASES: Final[Mapping[str, str]] = {
    "made": "Gerado em {at} pelo wasup {version}. Os horários são de {zone}.",
    "compared": "Comparado com {period}.",
    "no_data": (
        "Não há dados deste período: nada foi medido e nenhuma sessão deveria estar no ar. O wasup"
        " estava rodando?"
    ),
    "not_measured_all": ("Faltam os números da máquina e da carga: nada foi medido neste período."),
    "partly_measured": "Apenas {measured} do período foi medido.",
    "incomplete": "O período ainda não tinha terminado quando o relatório foi gerado.",
    "recorded_since": (
        "Os tempos das sessões só estão registrados desde {at}; o que houve antes não entra na"
        " conta."
    ),
    "levels": "Níveis de serviço",
    "recommendations": "O que fazer",
    "nothing_to_do": "Nada: nenhuma regra encontrou problema.",
    "figures": "Números",
    "availability": "Disponibilidade",
    "causes": "O que tirou sessões do ar",
    "sessions": "As piores sessões",
    "sessions_more": "{shown} das {all} que saíram do ar.",
    "outages": "Quedas gerais",
    "load": "Carga",
    "peaks": "Picos",
    "alerts": "Alertas",
    "capacity": "Capacidade",
    "backups": "Backups",
    "definitions": "Como é calculado",
    "none": "Nada.",
    "unknown": "não medido",
    "unmeasured": "Não medido: {names}.",
    "met": "cumprido",
    "missed": "não cumprido",
    "at_least": "no mínimo {target}",
    "at_most": "no máximo {target}",
    "budget": "{used} fora do ar, de {budget} permitidos, na média das sessões",
    "value": "Valor",
    "before": "Antes",
    "change": "Variação",
    "name": "Nome",
    "when": "Quando",
    "points": "{number} p.p.",
    "reason": "Causa",
    "incidents": "Incidentes",
    "sessions_column": "Sessões",
    "away": "Fora do ar",
    "session": "Sessão",
    "scope": "Quem",
    "began": "Início",
    "ended": "Fim",
    "lasts": "continua",
    "alert": "Alerta",
    "severity": "Gravidade",
    "raised": "Disparado",
    "on": "Ativo agora",
    "critical": "crítico",
    "warning": "aviso",
    "disk": "Disco",
    "used": "Em uso",
    "full": "Cheio em",
    "not_filling": "não está enchendo",
    "more": (
        "{sessions} sessões em execução; cabem mais {more} nesta máquina. O que acaba primeiro:"
        " {limit}."
    ),
    "more_unlimited": "{sessions} sessões em execução; nenhum limite desta máquina é conhecido.",
    "capacity_unknown": "Não se sabe.",
    "last_verified": "Último backup que pôde ser restaurado: {at}.",
    "no_verified": "Não há nenhum backup que tenha podido ser restaurado.",
    "restore_took": "A restauração levou {took}.",
    "backups_unknown": "Não se sabe.",
    "all": "todas",
    "page": "Página {number} de {all}",
    "sessions_total": (
        "{sessions} sessões deveriam estar no ar: {open} abertas, {down} fora do ar, {stopped}"
        " paradas, somando todas as sessões."
    ),
    "maintenance": "{seconds} de manutenção anunciada não entram na conta.",
}

LEVELS: Final[Mapping[str, str]] = {
    "availability": "Disponibilidade",
    "response_time": "95 % das chamadas da API em até",
    "errors": "Operações com falha",
    "rpo": "Idade do último backup verificado (RPO)",
    "rto": "Último ensaio de restauração (RTO)",
}

FIGURES: Final[Mapping[str, str]] = {
    "avg_response_time": "Tempo médio de resposta das sessões",
    "total_requests": "Chamadas da API",
    "error_rate": "Operações com falha, do total",
    "request_error_rate": "Chamadas com falha (5xx), do total",
    "db_connections_peak": "Máximo de conexões com o banco",
    "cache_hit_ratio": "Leituras do banco atendidas pelo cache",
    "messages": "Mensagens, recebidas e enviadas",
    "failed_operations": "Operações com falha",
    "reconnections": "Logins que trouxeram uma sessão de volta",
    "sessions": "Sessões, no máximo",
    "sessions_open": "Sessões abertas, em média",
    "avg_cpu": "CPU, em média",
    "avg_memory": "Memória, em média",
    "worker_memory_peak": "Memória de todos os workers, no máximo",
    "p95_request_time": "95 % das chamadas da API levaram menos de",
    "p95_response_time": "95 % das idas e voltas levaram menos de",
    "availability": "Disponibilidade",
}

SERIES: Final[Mapping[str, str]] = {
    "host.cpu": "CPU",
    "host.memory": "Memória",
    "host.load_1": "Carga (1 minuto)",
    "host.connections": "Conexões TCP",
    "supervisor.memory_bytes": "Memória do supervisor",
    "supervisor.lag_ms": "Atraso do laço do supervisor",
    "fleet.open": "Sessões abertas",
    "fleet.worker_memory_bytes": "Memória de todos os workers",
    "session.response_time_ms": "Tempo de resposta das sessões",
    "database.pool_in_use": "Conexões com o banco",
    "fleet.messages": "Mensagens",
    "api.requests": "Chamadas da API",
    "fleet.errors": "Operações com falha",
    "fleet.reconnects": "Logins que trouxeram uma sessão de volta",
}

STEP: Final = "{series}, em {step}"

RECOMMENDATIONS: Final[Mapping[str, str]] = {
    "availability": (
        "A disponibilidade foi de {value_fraction}, abaixo de {target_fraction}. Causa principal:"
        " {reason} ({away_seconds}; sessões: {sessions_count}). `wasup explain SESSÃO` diz o que"
        " ajuda."
    ),
    "needs_human": (
        "Sessões que ficaram à espera de alguém: {sessions_count} ({reason}). `wasup status` mostra"
        " as que ainda esperam."
    ),
    "outages": (
        "Quedas gerais que seguraram sessões juntas: {outages_count}. Se acontecem sempre na mesma"
        " hora, verifique a rede, o proxy ou o roteador desta máquina."
    ),
    "restless": (
        "As sessões reconectaram {reconnections_count} vezes, mais de dez por dia cada uma. A"
        " conexão está instável: verifique a rede e as piores sessões."
    ),
    "response_time": (
        "95 % das chamadas da API levaram até {p95_ms}, mais que {target_ms}. Quais são lentas está"
        " em `requests.log` e em `GET /history`, por rota."
    ),
    "slow_sessions": (
        "As sessões levaram em média {value_ms} para ir e voltar. Proxy lento, ou máquina ou rede"
        " ocupada demais."
    ),
    "errors": (
        "{value_fraction} das operações falharam, mais que {target_fraction}. O log mostra cada"
        " uma: `wasup logs SESSÃO`."
    ),
    "no_backup": (
        "Não há nenhum backup que tenha podido ser restaurado: o que está no banco se perderia com"
        " ele. Rode `wasup upkeep run backups` e veja o que ele diz."
    ),
    "old_backup": (
        "O último backup verificado tinha {age_seconds}, mais que {target_seconds}. `wasup upkeep"
        " list` mostra como terminaram os últimos."
    ),
    "slow_restore": (
        "Restaurar um backup levou {took_seconds}, mais que {target_seconds}. Use um disco mais"
        " rápido ou guarde menos eventos."
    ),
    "disk_filling": (
        "{directory} está com {used_fraction} ocupados e, no ritmo atual, enche em {full_seconds}."
        " Libere espaço ou guarde menos (WHATSAPP_EVENT_LOG_DAYS, WHATSAPP_LOG_DAYS)."
    ),
    "disk_full": (
        "{directory} está com {used_fraction} ocupados. Libere espaço ou guarde menos"
        " (WHATSAPP_EVENT_LOG_DAYS, WHATSAPP_LOG_DAYS)."
    ),
    "cpu": (
        "A CPU esteve {value_fraction} ocupada em média: não sobra nada para uma onda de logins."
        " Mais núcleos, ou menos sessões aqui."
    ),
    "memory": (
        "Em média {value_fraction} da memória esteve em uso. Mais memória, ou menos sessões aqui"
        " (`wasup capacity`)."
    ),
    "capacity": (
        "Sessões que ainda cabem nesta máquina: {more_count}; o que acaba primeiro: {limit}. `wasup"
        " capacity` diz o que mudar."
    ),
    "cache": (
        "Só {value_fraction} das leituras do banco vieram do cache. Dê mais memória a ele"
        " (PostgreSQL: shared_buffers; `wasup doctor`)."
    ),
    "gaps": (
        "Apenas {measured_fraction} do período foi medido. O supervisor ficou parado ou a máquina"
        " fora do ar?"
    ),
    "nothing_measured": (
        "Nada foi medido neste período. O supervisor ficou parado ou a máquina fora do ar?"
    ),
}

DEFINITIONS: Final = (
    "Disponibilidade é o tempo em que as sessões estiveram abertas, do tempo em que deveriam"
    " estar, somando todas as sessões. Vem do registro de cada mudança, ao segundo, nunca de"
    " amostras.",
    "Não contam: o tempo em que uma sessão esteve parada pelo operador, o tempo antes do primeiro"
    " login, a manutenção anunciada e as sessões que já foram excluídas. Contam como fora do ar: a"
    " espera, a retenção pelo controle de entrada ou por uma queda geral, o estacionamento e a"
    " ausência do próprio supervisor quando ele fechou a sessão.",
    "{target} permitem {month} por mês, {year} por ano.",
    "O tempo de resposta da API é calculado de distribuições, que podem ser somadas; chamadas que"
    " esperam de propósito ficam de fora. Contam como operações tudo o que uma sessão fez ou que"
    " lhe foi pedido.",
    "RPO é a idade do último backup restaurado em teste, no momento do relatório; RTO é o tempo"
    " que a última restauração levou.",
    "O que não foi medido aparece como não medido; nunca como 0.",
)

LIMITS: Final[Mapping[str, str]] = {
    "memory": "memória",
    "CPU at rest": "CPU",
    "descriptors of the supervisor": "descritores do supervisor",
    "descriptors of the system": "descritores do sistema",
    "ports towards one address": "portas para um mesmo endereço",
}

REASONS: Final[Mapping[str, str]] = {
    "restart_required": "o WhatsApp pediu reinício",
    "connection_closed": "conexão encerrada",
    "connection_lost": "conexão perdida",
    "network_unreachable": "sem rede",
    "dns": "nome não encontrado (DNS)",
    "tls_untrusted": "certificado não confiável",
    "proxy": "falha do proxy",
    "qr_expired": "QR code não lido",
    "passkey_required": "exige chave de acesso (passkey)",
    "server_error": "erro no WhatsApp",
    "unavailable": "WhatsApp indisponível",
    "rate_limited": "logins demais",
    "upgrade_refused": "conexão recusada pelo WhatsApp",
    "replaced": "substituída por outra conexão",
    "logged_out": "desconectada no celular",
    "own_logout": "desconectada por nós",
    "temporarily_banned": "banida por um tempo",
    "locked": "conta bloqueada",
    "banned": "número banido",
    "client_outdated": "versão antiga demais",
    "repair_needed": "credenciais a reparar",
    "unknown_failure": "falha desconhecida",
    "attempt_timed_out": "login demorou demais",
    "undecryptable_frame": "dados ilegíveis",
    "store_failed": "falha do nosso banco de dados",
    "requested": "a pedido",
    "deaf": "aberta, mas sem ouvir",
    "same_device": "duas sessões do mesmo aparelho",
    "worker_exited": "o processo worker terminou",
    "worker_hung": "o processo worker travou",
}
